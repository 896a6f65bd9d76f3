import os; os.environ['NT']='150'
from lab import *
mol,s='azobenzene',30.
tr,te,pts,out,fo,g=system(mol,1,[s]); n=50; mot=pts.motions[:n]; rows=out[s]
J=np.load('srp1_azobenzene_1.npz')
E=J['E']; E=E-E.mean(1,keepdims=True)
L=np.concatenate([(J['F'].reshape(len(E),n,1,-1)@mot[None])[:,:,0],E[:,:,None]],2).transpose(1,2,0)
nb=[('xtb-GFN2-xTB',.53),('xtb-IPEA1-xTB',.36),('so3lr',.07)]
def y_of(nb):
    f=tr.forces-sum(w*base(mol,1,'train',k,n)[1] for k,w in nb); e=tr.energies-sum(w*base(mol,1,'train',k,n)[0] for k,w in nb)
    return np.concatenate([(f.reshape(n,1,-1)@mot)[:,0],(e-e.mean())[:,None]],1)
def cv(y,alpha,lam=1e-10):
    res=np.empty_like(y); u=y.shape[1]; std=np.std(y[:,:-1])
    for f in fo:
        t=np.setdiff1d(np.arange(n),f)
        K=rows[t][:,:,t].reshape(len(t)*u,-1); A=L[t].reshape(-1,L.shape[2])*alpha/std
        G=K+A@A.T; G[np.diag_indices_from(G)]+=lam
        r=np.stack([y[t].ravel()/std,np.tile(np.r_[np.zeros(u-1),1],len(t))],1)
        c=cho_solve(cho_factor(G),r); q=c.reshape(len(t),u,2)[:,-1].sum(0); k=q[0]/q[1]; b=c[:,0]-k*c[:,1]
        p=std*(rows[f][:,:,t].reshape(len(f)*u,-1)@b).reshape(len(f),u)+L[f]@(alpha*(A.T@b)); p[:,-1]+=k*std
        res[f]=y[f]-p
    return 1e3*np.sqrt((res[:,:-1]**2).mean())
import srp, lab
ks=srp.params(tr.numbers); sc=srp.scales(ks); z=tr.numbers
def posterior(y,alpha,lam=1e-10):
    u=y.shape[1]; std=np.std(y[:,:-1]); K=rows[:n].reshape(n*u,-1); A=L.reshape(-1,L.shape[2])*alpha/std
    G=K+A@A.T; G[np.diag_indices_from(G)]+=lam
    r=np.stack([y.ravel()/std,np.tile(np.r_[np.zeros(u-1),1],n)],1)
    c=cho_solve(cho_factor(G),r); q=c.reshape(n,u,2)[:,-1].sum(0); b=c[:,0]-q[0]/q[1]*c[:,1]
    return alpha*(A.T@b)
def test(tag,w0,eb,fb,et,ft,others):
    E=np.concatenate([tr.energies-eb,te.energies-et]);F=np.concatenate([tr.forces-fb,te.forces-ft])
    for k,w in others:
        a=base(mol,1,'train',k,n); b=base(mol,1,'test',k,150)
        E-=w*np.concatenate([a[0],b[0]]); F-=w*np.concatenate([a[1],b[1]])
    Y=pts.labels(E-E[:n].mean(),F)[:,:,None]
    r=Y[n:]-fit_predict(rows,Y,np.arange(n),np.arange(n,n+150),1e-10)
    ff=np.einsum('nau,nu->na',pts.motions[n:],r[:,:-1,0])
    print(tag,'test MAE E %.1f F %.1f'%(1e3*abs(r[:,-1]).mean(),1e3*abs(ff).mean()),flush=True)
for name,x in (('GFN2',[('xtb-GFN2-xTB',1.)]),('sum',nb)):
    y=y_of(x); others=[t for t in x if t[0]!='xtb-GFN2-xTB']; w0=x[0][1]
    a0=base(mol,1,'train','xtb-GFN2-xTB',n); b0=base(mol,1,'test','xtb-GFN2-xTB',150)
    test(name+' before',w0,w0*a0[0],w0*a0[1],w0*b0[0],w0*b0[1],others)
    for alpha in (3e-4,3e-3):
        d=posterior(y,alpha); h=0.2/abs(d).max()
        ca,cb=srp.Calc(srp.moved(z,ks,h*d*sc),z),srp.Calc(srp.moved(z,ks,-h*d*sc),z)
        for q in (ca,cb): q.c=None
        tra,trb,tea,teb=ca(tr.positions),cb(tr.positions),ca(te.positions),cb(te.positions)
        sl=[((p[i]-m[i])/(2*h)) for p,m in ((tra,trb),(tea,teb)) for i in (0,1)]
        test(f'{name} alpha {alpha} max delta {abs(d).max():.1f}',w0,w0*a0[0]+sl[0],w0*a0[1]+sl[1],w0*b0[0]+sl[2],w0*b0[1]+sl[3],others)
